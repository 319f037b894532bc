import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Text → what stands in its place; in files below `packages/tickets/src`. */
export type Edits = Record<string, [before: string, after: string][]>

export interface NextVersion {
  edits: Edits[]
  /** A folder of migrations that it brings along. */
  migrations: URL
}

const here = fileURLToPath(new URL('../..', import.meta.url))
const tickets = 'packages/tickets/src'

/** The code of the next version in a folder of its own: this checkout's, with some edits. Packages are linked, not copied. */
export function makeCheckout({ edits, migrations }: NextVersion): { folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'escala-next-'))
  for (const path of ['apps', 'packages', 'package.json'])
    cpSync(join(here, path), join(folder, path), { recursive: true })
  const modules = join(folder, 'node_modules')
  mkdirSync(join(modules, '@escala'), { recursive: true })
  for (const name of readdirSync(join(here, 'node_modules'))) {
    if (name !== '@escala') symlinkSync(join(here, 'node_modules', name), join(modules, name))
  }
  for (const group of ['apps', 'packages']) {
    for (const { name } of readdirSync(join(folder, group), { withFileTypes: true }).filter((one) => one.isDirectory()))
      symlinkSync(join(folder, group, name), join(modules, '@escala', name))
  }
  for (const [file, replacements] of edits.flatMap((each) => Object.entries(each))) {
    const path = join(folder, tickets, file)
    let text = readFileSync(path, 'utf8')
    for (const [before, after] of replacements) {
      if (!text.includes(before)) throw new Error(`${tickets}/${file} has changed: there is no ${before} to replace`)
      text = text.replaceAll(before, after)
    }
    writeFileSync(path, text)
  }
  cpSync(migrations, join(folder, tickets, 'migrations'), { recursive: true })
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** What both halves' next version wants: another name for a column, another form of payloads and of cached shows, a new schedule. */
export const wanted: Edits = {
  'orders.ts': [
    ['total_cents', 'amount_cents'],
    // The response contains the currency, too.
    ['status, quantity, amount_cents\n', 'status, quantity, amount_cents, currency\n'],
    ["'totalCents', amount_cents)", "'totalCents', amount_cents, 'currency', placed.currency)"],
  ],
  'order-batch.ts': [
    ['total_cents', 'amount_cents'],
    ['status, quantity, amount_cents\n', 'status, quantity, amount_cents, currency\n'],
    ["'totalCents', amount_cents)", "'totalCents', amount_cents, 'currency', placed.currency)"],
  ],
  'schemas.ts': [
    [
      '  totalCents: z.int(),\n})\n\nexport const order =',
      '  totalCents: z.int(),\n  currency: z.string().optional(),\n})\n\nexport const order =',
    ],
  ],
  'transitions.ts': [['total_cents', 'amount_cents']],
  'sales.ts': [['quantity, total_cents, status', 'quantity, amount_cents AS total_cents, status']],
  'messages.ts': [
    ['payloadVersion).orderId', 'payloadVersion).order'],
    ["'orderId', $", "'order', $"],
    ['version: payloadVersion, orderId }', 'version: payloadVersion, order: orderId }'],
  ],
  'show-reader.ts': [
    [
      'load: () => readDetails(postgres, id),',
      `load: async () => {
        const details = await readDetails(postgres, id)
        return details && { details, version: details.version }
      },`,
    ],
    ['const [known, now] = await', 'const [kept, now] = await'],
    ['return known && now', 'const known = kept?.details\n      return known && now'],
  ],
  'worker.ts': [
    ['schedules: [\n', "schedules: [\n    { id: 'orders-audit', type: 'orders.audit', every: { ms: 1000 } },\n"],
  ],
  'jobs.ts': [
    [
      "    async 'reports.sales'(",
      "    async 'orders.audit'(job) {\n      job.log.info('orders audited')\n    },\n\n    async 'reports.sales'(",
    ],
  ],
}
