import { kitErrors } from '@escala/kit/errors/errors'
import { instant, line } from '@escala/kit/http/fields'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { endSession } from '@escala/kit/sessions/log-in'
import { isStillLoggedIn } from '@escala/kit/sessions/request-session'
import { z } from 'zod'
import { addToken, listTokens, removeToken } from '../tokens.ts'
import type { ConfirmUser } from './check-password.ts'

const bounds = { maxNameLength: 100, maxScopes: 20, maxScopeLength: 50 }

const dayMs = 24 * 3_600_000
const defaultLifeMs = 90 * dayMs
const maxLifeDays = 366
const maxLifeMs = maxLifeDays * dayMs
const firstId = '00000000-0000-0000-0000-000000000000'

const token = z.strictObject({
  id: z.uuid(),
  name: z.string(),
  scopes: z.array(z.string()),
  expiresAt: z.iso.datetime(),
})

const newToken = z.strictObject({
  name: line(bounds.maxNameLength),
  scopes: z.array(z.string().max(bounds.maxScopeLength)).min(1).max(bounds.maxScopes),
  expiresAt: instant().optional(),
  password: z.string().min(1).max(200).optional(),
})

const pageQuery = z.strictObject({
  cursor: z.uuid().optional(),
  limit: z.coerce.number().int().min(1).max(100).default(20),
})

interface Deps extends Pick<ApiParts, 'postgres' | 'scopes'> {
  confirmUser: ConfirmUser
}

/** Tokens for machines that act for a user, on routes that name a scope. */
export function tokenRoutes({ postgres, scopes, confirmUser }: Deps): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/tokens',
      summary: 'Make a token, which is shown once; needs `password`, or a log-in within the last ten minutes',
      access: 'user',
      body: newToken,
      responses: { 201: { description: 'The token', schema: token.extend({ token: z.string() }) } },
      errors: ['E_PASSWORD_REQUIRED', 'E_BAD_CREDENTIALS', 'E_TOO_MANY_TOKENS', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle(context) {
        const { name, scopes: wanted, password, expiresAt } = context.body
        const unknown = wanted.filter((scope) => !scopes().includes(scope))
        if (unknown.length > 0) throw invalid('scopes', `known scopes: ${scopes().join(', ')}`)
        const expires = expiresAt === undefined ? Date.now() + defaultLifeMs : Date.parse(expiresAt)
        if (expires <= Date.now() || expires > Date.now() + maxLifeMs) throw invalid('expiresAt', 'within 366 days')
        await confirmUser(context, password)
        const made = { name, scopes: [...new Set(wanted)], expiresAt: new Date(expires).toISOString() }
        const added = await addToken(postgres, context.user.id, made, () => isStillLoggedIn(context.req))
        if (added === undefined) throw await endSession(context.req)
        return { status: 201, body: added }
      },
    }),
    route({
      method: 'get',
      path: '/v1/tokens',
      summary: "The user's tokens, without their secrets",
      access: 'user',
      query: pageQuery,
      responses: {
        200: {
          description: 'One page of tokens',
          schema: z.strictObject({ items: z.array(token), nextCursor: z.string().nullable() }),
        },
      },
      async handle({ user, query: { cursor = firstId, limit } }) {
        const found = await listTokens(postgres, user.id, cursor, limit + 1)
        const items = found.slice(0, limit)
        return { status: 200, body: { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null } }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/tokens/:id',
      summary: 'Revoke a token: every replica refuses it from its next request on',
      access: 'user',
      essential: true,
      params: z.strictObject({ id: z.uuid() }),
      responses: { 204: { description: 'The token is worth nothing' } },
      errors: ['E_NOT_FOUND'],
      async handle({ user, params }) {
        if (!(await removeToken(postgres, user.id, params.id))) throw kitErrors.E_NOT_FOUND()
        return { status: 204 }
      },
    }),
  ]
}

const invalid = (field: string, what: string) => kitErrors.E_VALIDATION({ fields: { [field]: what } })
