import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/outbox/relay.ts'

export const mutants: Mutant[] = [
  { removed: 'SKIP LOCKED', file, from: 'ORDER BY id FOR UPDATE SKIP LOCKED', to: 'ORDER BY id FOR UPDATE' },
  {
    removed: 'the order within an aggregate',
    file,
    from: 'outbox.aggregate = locked.aggregate ORDER BY position LIMIT $2',
    to: 'outbox.aggregate = locked.aggregate ORDER BY id LIMIT $2',
  },
  {
    removed: "the job's id, by which the queue drops a copy",
    file: 'packages/kit/src/jobs/bullmq.ts',
    from: 'queue.add(type, data, { jobId: id })',
    to: 'queue.add(type, data, id === undefined ? { jobId: id } : {})',
  },
  {
    removed: 'the wait of later messages for one of their aggregate that the queue did not take',
    file,
    from: '        await queue.add(toJob(row))\n        published.push(row.id)\n',
    to: '        await queue.add(toJob(row)).then(() => published.push(row.id), () => undefined)\n',
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
