export { apiParts } from './slow.ts'

/** What an API does that never thought of it: it is told to go, and goes. */
process.on('SIGTERM', () => process.exit(0))
