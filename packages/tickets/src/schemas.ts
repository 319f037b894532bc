import { instant, line } from '@escala/kit/http/fields'
import { z } from 'zod'

const maxCents = 100_000_000

const showDetails = {
  name: line(200),
  startsAt: instant(),
  priceCents: z.int().min(0).max(maxCents),
  currency: z.string().regex(/^[A-Z]{3}$/, 'three capital letters, as in ISO 4217'),
  capacity: z.int().min(1).max(1_000_000),
}

export const showInput = z.strictObject(showDetails)
export const showChange = z
  .strictObject(showDetails)
  .partial()
  .refine((change) => Object.keys(change).length > 0, 'name at least one thing to change')

/** Wider than the input: a row that an earlier version has let in must not make a list fail. */
export const show = z.strictObject({
  id: z.uuid(),
  name: z.string(),
  startsAt: z.string().meta({ format: 'date-time' }),
  priceCents: z.int(),
  currency: z.string(),
  capacity: z.int(),
  available: z.int().min(0),
  version: z.int().min(1),
})

export const availabilityEvent = z.strictObject({ available: z.int().min(0) })

export const poster = z.strictObject({ contentType: z.string() })

export const orderInput = z.strictObject({ quantity: z.int().min(1).max(100) })

export const orderStatus = z.enum([
  'pending',
  'charging',
  'paid',
  'confirmed',
  'failed',
  'expired',
  'refunding',
  'cancelled',
])

/** What the buyer gets back at once. */
export const placedOrder = z.strictObject({
  id: z.uuid(),
  number: z.int(),
  status: orderStatus,
  quantity: z.int(),
  totalCents: z.int(),
})

export const order = z.strictObject({ ...placedOrder.shape, showId: z.uuid() })

export const cartInput = z.strictObject({ quantity: z.int().min(0).max(100) })
export const cartParams = z.strictObject({ showId: z.uuid() })
export const cart = z.strictObject({ items: z.array(z.strictObject({ showId: z.string(), quantity: z.int() })) })

export const salesReport = z.strictObject({
  day: z.iso.date(),
  showId: z.uuid(),
  showName: z.string(),
  currency: z.string(),
  orders: z.int(),
  tickets: z.int(),
  totalCents: z.int(),
  computedAt: z.iso.datetime(),
})

export const idParams = z.strictObject({ id: z.uuid() })

export type Show = z.output<typeof show>
export type ShowInput = z.output<typeof showInput>
export type ShowChange = z.output<typeof showChange>
export type Order = z.output<typeof order>
export type OrderStatus = z.output<typeof orderStatus>
export type SalesReport = z.output<typeof salesReport>
