import { line } from '@escala/kit/http/fields'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { z } from 'zod'
import { createItem, item, listItems } from './items.ts'

export function placeholdersRoutes({ postgres, outbox }: Pick<ApiParts, 'postgres' | 'outbox'>): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/placeholders',
      summary: 'Your items, the newest first',
      access: 'user',
      responses: { 200: { description: 'At most 100', schema: z.strictObject({ items: z.array(item) }) } },
      handle: async ({ user }) => ({ status: 200, body: { items: await listItems(postgres, user.id) } }),
    }),
    route({
      method: 'post',
      path: '/v1/placeholders',
      summary: 'Create an item',
      access: 'user',
      idempotent: true,
      body: z.strictObject({ name: line(200) }),
      responses: { 201: { description: 'The item; a job processes it', schema: item } },
      // The item, the message that becomes its job, and the response for a repeated request commit together, or not at all.
      handle: ({ body, user, once, requestId, traceparent }) =>
        once(async (tx) => {
          const created = await createItem(tx, user.id, body.name)
          const message = { type: 'placeholders.created', aggregate: created.id, payload: { id: created.id } }
          await outbox.add(tx, { ...message, requestId, traceparent })
          return { status: 201, body: created }
        }),
    }),
  ]
}
