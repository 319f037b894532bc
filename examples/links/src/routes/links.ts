import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { z } from 'zod'
import { createLink, listDays, listLinks, readLink, toLink } from '../links.ts'
import { codeParams, days, link, linkInput } from '../schemas.ts'

export function linkRoutes({ postgres }: Pick<ApiParts, 'postgres'>, perMinute: number): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/links',
      summary: 'Shorten an address',
      access: 'user',
      idempotent: true,
      limit: { requests: perMinute, windowMs: 60_000 },
      body: linkInput,
      responses: { 201: { description: 'The link', schema: link } },
      handle: ({ body, user, once }) =>
        once(async (tx) => ({ status: 201, body: await createLink(tx, user.id, body.target) })),
    }),
    route({
      method: 'get',
      path: '/v1/links',
      summary: 'Your links, the newest first',
      access: 'user',
      query: z.strictObject({
        cursor: z
          .string()
          .regex(/^\d{1,18}$/)
          .optional(),
        limit: z.coerce.number().int().min(1).max(100).default(20),
      }),
      responses: {
        200: {
          description: 'One page',
          schema: z.strictObject({ items: z.array(link), nextCursor: z.string().nullable() }),
        },
      },
      async handle({ query, user }) {
        const rows = await listLinks(postgres, user.id, query.cursor, query.limit + 1)
        const shown = rows.slice(0, query.limit)
        return {
          status: 200,
          body: { items: shown.map(toLink), nextCursor: rows.length > shown.length ? shown.at(-1)?.position : null },
        }
      },
    }),
    route({
      method: 'get',
      path: '/v1/links/:code',
      summary: 'One of your links',
      access: 'user',
      params: codeParams,
      responses: { 200: { description: 'The link', schema: link } },
      errors: ['E_NOT_FOUND'],
      async handle({ params, user }) {
        const found = await readLink(postgres, params.code, user.id)
        if (found === undefined) throw kitErrors.E_NOT_FOUND()
        return { status: 200, body: found }
      },
    }),
    route({
      method: 'get',
      path: '/v1/links/:code/days',
      summary: 'Clicks of each whole day (UTC), as the nightly schedule computed them',
      access: 'user',
      params: codeParams,
      responses: { 200: { description: 'The latest day first, at most 366', schema: days } },
      handle: async ({ params, user }) => ({
        status: 200,
        body: { items: await listDays(postgres, params.code, user.id) },
      }),
    }),
  ]
}
