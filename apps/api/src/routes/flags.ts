import type { Flags } from '@escala/kit/flags/flags'
import { withoutControls } from '@escala/kit/http/fields'
import { type Route, route } from '@escala/kit/http/route'
import { z } from 'zod'

const value = z.union([z.boolean(), z.number(), z.string().max(1000)])
const input = z.union([z.boolean(), z.number(), withoutControls(z.string().max(1000))])
const flag = z.strictObject({ name: z.string(), value, default: value, description: z.string() })

/** Switches that users with one role can turn; `npm run flags` turns the same ones from a shell. */
export function flagRoutes({ flags, role }: { flags: Flags; role: string }): Route[] {
  const all = () => flags.all().map(({ flag, value }) => ({ ...flag, value }))
  return [
    route({
      method: 'get',
      path: '/v1/flags',
      summary: 'Every flag and its value',
      access: { role },
      responses: { 200: { description: 'All flags', schema: z.strictObject({ items: z.array(flag) }) } },
      errors: ['E_FORBIDDEN'],
      handle: async () => ({ status: 200, body: { items: all() } }),
    }),
    route({
      method: 'put',
      path: '/v1/flags/:name',
      summary: 'Set a flag: every replica follows it at once, or within five seconds if the broadcast is lost',
      access: { role },
      params: z.strictObject({ name: z.string().max(100) }),
      body: z.strictObject({ value: input }),
      responses: { 200: { description: 'The flag as it is now', schema: flag } },
      errors: ['E_FORBIDDEN', 'E_UNKNOWN_FLAG'],
      async handle({ params, body }) {
        await flags.set(params.name, body.value)
        return { status: 200, body: all().find(({ name }) => name === params.name) }
      },
    }),
  ]
}
