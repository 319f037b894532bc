import { environment, stopEnvironment } from '@escala/testing/environment'
import { createShop, type Shop } from '@escala/tickets/test-shop'
import { failUsage, readCommandLine } from '../../infra/local/command-line.ts'
import { createExplainer, type Finding } from './explain.ts'
import { fill } from './fill.ts'
import { namedStatements } from './named.ts'
import { useProduct } from './product.ts'

const usage = `usage: npm run growth [-- --orders N]

Reports what each named statement costs in a large database; see docs/postgres.md.
  --orders N   rows of the largest table, 10000 to 10000000 (1000000)`
const { values } = readCommandLine(usage, { orders: { type: 'string', default: '1000000' } })
const orders = Number(values.orders)
if (!Number.isInteger(orders) || orders < 10_000 || orders > 10_000_000) {
  failUsage(usage, '--orders takes a whole number from 10000 to 10000000')
}
const tenth = orders / 10
const size = { users: tenth, shows: 20_000, orders, unsettled: tenth, messages: tenth, keys: tenth }

/** Statements that handle many rows at a time, and how long that may take; all others have `ms`. */
const ms = 1
const ofMany: Record<string, number> = {
  'tickets-orders-place': 10, // up to 100 orders
  'tickets-report-page': 5, // 1,000 orders
  'tickets-report-write': 10, // 100 reports
  'outbox-take': 5, // up to 200 messages
  'outbox-mark': 5,
  'delete-older-idempotency_keys-created_at': 10, // 1,000 rows
  'delete-older-outbox-published_at': 10,
  'delete-older-account_codes-created_at': 10,
}
/** Run once, on an empty database, during set-up. */
const seeds = ['users.seed', 'tickets-seed-show']

const began = performance.now()
const progress = (what: string) =>
  console.log(`${((performance.now() - began) / 1000).toFixed(0).padStart(4)} s  ${what}`)
const { around, findings, start } = createExplainer({ ms: (name) => ofMany[name] ?? ms, rows: 1000 })
let shop: Shop | undefined
try {
  progress('starting Postgres')
  shop = await createShop((await environment()).postgresUrl, { around })
  await fill(shop.databaseUrl, size, progress)
  progress('using the product')
  await start(shop.postgres)
  await useProduct(shop)
  progress('done')
} finally {
  await shop?.stop()
  await stopEnvironment()
}

const worst = new Map<string, Finding>()
for (const finding of findings) {
  const key = `${finding.name} ${finding.plan}`
  if (finding.ms > (worst.get(key)?.ms ?? -1)) worst.set(key, finding)
}
console.log(`\n${'statement'.padEnd(42)} ${'plan'.padEnd(8)} ${'ms'.padStart(8)} ${'pages'.padStart(7)}`)
for (const { name, plan, ms, pages, scans } of worst.values()) {
  console.log(
    `${name.padEnd(42)} ${plan.padEnd(8)} ${ms.toFixed(3).padStart(8)} ${String(pages).padStart(7)}  ${scans.join('; ')}`,
  )
}
const seen = new Set(findings.map(({ name }) => name))
const failures = [
  ...namedStatements()
    .filter((name) => !seen.has(name) && !seeds.includes(name))
    .map((name) => `${name} was not run: labs/growth/product.ts`),
  ...[...worst.values()].flatMap(({ name, plan, ms: took, scans }) => [
    ...scans.map((scan) => `${name} (${plan} plan) ${scan}`),
    ...(took > (ofMany[name] ?? ms)
      ? [`${name} (${plan} plan) took ${took.toFixed(2)} ms of ${ofMany[name] ?? ms}`]
      : []),
  ]),
]
console.log(
  failures.length > 0
    ? `\n${[...new Set(failures)].join('\n')}`
    : `\nAll ${seen.size} statements are within their bounds.`,
)
process.exit(failures.length > 0 ? 1 : 0)
