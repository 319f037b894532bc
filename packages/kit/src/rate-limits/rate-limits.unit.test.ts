import { createMemoryRateLimits } from './memory.ts'
import { describeRateLimits } from './rate-limits.contract.ts'

describeRateLimits('rate limits in memory', () => {
  const stores = createMemoryRateLimits()
  return [stores, stores]
})
