import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

export interface RotationOptions {
  /** Every `*.log` in these folders, at the moment of each look. */
  folders: string[]
  maxBytes?: number
  /** Older files of each log: `api-out.log.1` is the latest. */
  keep?: number
  everyMs?: number
}

/**
 * Keeps logs small that other programs hold open: what is in a file is copied and the file emptied, so the program does not have to open it
 * again. All of them append. A line that is written between the last read and the emptying, some microseconds, is lost.
 */
export function startRotation({
  folders,
  maxBytes = 10_000_000,
  keep = 3,
  everyMs = 5000,
}: RotationOptions): Disposable {
  const look = () => {
    for (const folder of folders.filter((path) => existsSync(path))) {
      for (const name of readdirSync(folder).filter((name) => name.endsWith('.log'))) {
        try {
          rotate(join(folder, name), maxBytes, keep)
        } catch (error) {
          console.error(`the log ${name} could not be rotated: ${error instanceof Error ? error.message : error}`)
        }
      }
    }
  }
  const timer = setInterval(look, everyMs)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

export function rotate(file: string, maxBytes: number, keep: number): void {
  if (statSync(file).size <= maxBytes) return
  for (let number = keep; number > 1; number--) {
    if (existsSync(`${file}.${number - 1}`)) renameSync(`${file}.${number - 1}`, `${file}.${number}`)
  }
  const from = openSync(file, 'r+')
  const to = openSync(`${file}.1`, 'w', 0o600)
  const buffer = Buffer.alloc(1_000_000)
  for (let read = readSync(from, buffer); read > 0; read = readSync(from, buffer)) writeSync(to, buffer, 0, read)
  ftruncateSync(from)
  closeSync(to)
  closeSync(from)
}
