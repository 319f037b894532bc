import { naiveParts } from './naive.ts'

/** The same, but three tries instead of ioredis's twenty: a test cannot wait for more than a minute. */
export const apiParts = naiveParts({ maxRetriesPerRequest: 3 })
