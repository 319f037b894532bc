import { z } from 'zod'
import { codePattern } from './codes.ts'

export const code = z.string().regex(codePattern)
export const codeParams = z.strictObject({ code })

export const linkInput = z.strictObject({ target: z.url({ protocol: /^https?$/ }).max(2000) })

export const link = z.strictObject({
  code: z.string(),
  target: z.string(),
  clicks: z.int(),
  createdAt: z.string().meta({ format: 'date-time' }),
})

export const clicksEvent = z.strictObject({ clicks: z.int().min(0) })

export const days = z.strictObject({ items: z.array(z.strictObject({ day: z.iso.date(), clicks: z.int() })) })

const label = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
const host = z
  .string()
  .max(253)
  .regex(new RegExp(`^(${label}\\.)+[a-z]{2,63}$`), 'a host name in lower case')
export const hostParams = z.strictObject({ host })
export const domain = z.strictObject({ host: z.string(), verifiedAt: z.string().meta({ format: 'date-time' }) })

export type Link = z.output<typeof link>
