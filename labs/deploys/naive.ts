export { apiParts } from './slow.ts'

/** An API without any shutdown handling: it exits on the signal. */
process.on('SIGTERM', () => process.exit(0))
