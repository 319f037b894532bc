import { flushLogs, type Logger } from '../log/log.ts'

/** Longest time for the last lines of the log, after everything else has stopped. */
export const lastLinesMs = 500

/** A composed process: what `main.ts` starts and stops. */
export interface Composition {
  log: Logger
  /** Resolves when it is ready to serve. */
  start(): Promise<void>
  /** Drains, then stops. Never rejects because of what is unreachable. */
  stop(): Promise<void>
}

/**
 * Runs a composition until SIGTERM, SIGINT or PM2's `shutdown` message, then drains and exits with 0.
 * A second signal, a second later or more, exits at once with 1: terminals and shells deliver one Ctrl-C twice.
 * A failed start and uncaught errors are logged; the process drains and exits with code 1.
 */
export async function runProcess(make: () => Promise<Composition>): Promise<void> {
  let composition: Composition
  try {
    composition = await make()
  } catch (error) {
    process.stderr.write(`${describe(error)}\n`)
    process.exit(1)
  }
  const { log } = composition
  let stoppingSince: number | undefined

  const stop = async (reason: string, code: number) => {
    if (stoppingSince !== undefined) {
      if (Date.now() - stoppingSince > 1000) process.exit(1)
      return
    }
    stoppingSince = Date.now()
    log.info({ reason }, 'stopping')
    await composition.stop().catch((err) => {
      log.error({ err }, 'stop failed')
      code = 1
    })
    log.info({ ms: Date.now() - stoppingSince }, 'stopped')
    await flushLogs(lastLinesMs)
    process.exit(code)
  }
  const fail = (err: unknown) => {
    log.fatal({ err }, 'uncaught exception')
    void stop('failure', 1)
  }

  // A reader of either stream that is gone is no reason to stop; without these it would be an uncaught exception.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  process.on('SIGTERM', () => void stop('SIGTERM', 0))
  process.on('SIGINT', () => void stop('SIGINT', 0))
  process.on('message', (message) => {
    if (message === 'shutdown') void stop('shutdown', 0)
  })
  process.on('uncaughtException', fail)
  process.on('unhandledRejection', fail)

  try {
    await composition.start()
  } catch (err) {
    if (stoppingSince !== undefined) return
    log.fatal({ err }, 'start failed')
    process.stderr.write(`${describe(err)}\n`)
    return void stop('failed start', 1)
  }
  if (stoppingSince !== undefined) return // a drain ended the start
  log.info('ready')
  process.send?.('ready') // PM2's wait_ready
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error && typeof error.code === 'string' ? `${error.code}: ${error.message}` : String(error.stack)
}
