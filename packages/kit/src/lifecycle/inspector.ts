import { open, url } from 'node:inspector'
import type { Logger } from '../log/log.ts'

/** The inspector's port is so far above the internal one: each replica of a machine has its own. */
export const inspectorOffset = 5000

/**
 * Opens Node's inspector on 127.0.0.1, `inspectorOffset` above the internal port, or on any free port where there is none so high.
 * Every process that can connect to it can run code in this one. Where it cannot listen, the process goes on without it, and logs so.
 */
export function openInspector(internalPort: number, log: Logger): void {
  const port = internalPort + inspectorOffset
  if (url() === undefined) open(port > 65_535 ? 0 : port, '127.0.0.1')
  const address = url()
  if (address === undefined) log.error({ port }, 'the inspector could not listen')
  else log.warn({ inspector: new URL(address).host }, 'the inspector is open: any local process can run code here')
}
