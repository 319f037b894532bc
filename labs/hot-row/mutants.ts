import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the batch of the orders that wait',
    file: 'packages/tickets/src/order-desk.ts',
    from: 'mayWait && tries <= maxBatches ? coalesced(asked) : alone(asked)',
    to: 'alone(asked)',
    tests: ['labs/hot-row/hot-row.test.ts'],
  },
  {
    removed: 'the second try of those behind an order that does not fit',
    file: 'packages/tickets/src/order-desk.ts',
    from: 'if (asked.order.quantity > now.available) throw ticketErrors.E_SOLD_OUT()',
    to: 'throw ticketErrors.E_SOLD_OUT()',
    tests: ['packages/tickets/src/order-desk.test.ts'],
  },
  {
    removed: 'the orders one by one after a batch that Postgres refuses',
    file: 'packages/tickets/src/order-desk.ts',
    from: '      if (sqlState(error) === undefined) throw error\n      return undefined\n',
    to: '      throw error\n',
    tests: ['packages/tickets/src/order-desk.test.ts'],
  },
  {
    removed: 'the wait of an order for another one with the same key',
    file: 'packages/tickets/src/coalesce.ts',
    from: ' && !taken.has(id)) taken.set(id, one)',
    to: ') taken.set(id + String(taken.size), one)',
    tests: ['packages/tickets/src/coalesce.unit.test.ts'],
  },
  {
    removed: 'the end of every wait when one order meets an outage',
    file: 'packages/tickets/src/coalesce.ts',
    from: 'if (outage !== undefined) for (const { reject } of queue.splice(0)) reject(outage)',
    to: '',
    tests: ['packages/tickets/src/order-desk.test.ts'],
  },
  {
    removed: 'the turn of the event loop in which orders gather',
    file: 'packages/tickets/src/coalesce.ts',
    from: 'for (await turn(); queue.length > 0; await turn()) {',
    to: 'while (queue.length > 0) {',
    tests: ['packages/tickets/src/coalesce.unit.test.ts'],
  },
]
