import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/outbox/relay.ts'
const sql = 'packages/kit/src/outbox/statements.ts'

export const mutants: Mutant[] = [
  { removed: 'SKIP LOCKED', file: sql, from: 'ORDER BY id FOR UPDATE SKIP LOCKED', to: 'ORDER BY id FOR UPDATE' },
  {
    removed: 'the order within an aggregate',
    file: sql,
    from: 'ORDER BY position LIMIT (SELECT greatest',
    to: 'ORDER BY id LIMIT (SELECT greatest',
  },
  {
    removed: "the job's id, by which the queue drops a copy",
    file: 'packages/kit/src/jobs/bullmq.ts',
    from: '  opts: { jobId: id },',
    to: "  opts: id === '' ? { jobId: id } : {},",
  },
  {
    removed: 'the wait of later messages for one of their aggregate that the queue did not take',
    file,
    from: "results[n]?.status === 'fulfilled' && run.length > at + 1",
    to: 'run.length > at + 1',
    tests: ['packages/kit/src/outbox'],
  },
  {
    removed: 'the mark that comes after the queue has taken a message, and for no other',
    file,
    from: 'await tx.query(mark, [published])',
    to: 'await tx.query(mark, [rows.map(({ id }) => id)])',
    tests: ['packages/kit/src/outbox'],
  },
  {
    removed: 'the search for what the queue has lost',
    file,
    from: '          await recover(deep)\n',
    to: '',
    tests: ['packages/kit/src/outbox'],
  },
]
