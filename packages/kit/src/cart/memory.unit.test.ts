import { describeCarts } from './cart.contract.ts'
import { createMemoryCarts } from './memory.ts'

describeCarts('carts in memory', (options) => {
  const carts = createMemoryCarts(options)
  return { replicas: [carts, carts] }
})
