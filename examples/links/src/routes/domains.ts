import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { z } from 'zod'
import type { DomainCheck } from '../dns.ts'
import { claimDomain, listDomains } from '../domains.ts'
import { domain, hostParams } from '../schemas.ts'

export function domainRoutes({ postgres, locks }: Pick<ApiParts, 'postgres' | 'locks'>, check: DomainCheck): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/link-domains',
      summary: 'Your domains',
      access: 'user',
      responses: { 200: { description: 'At most 100', schema: z.strictObject({ items: z.array(domain) }) } },
      async handle({ user }) {
        const rows = await listDomains(postgres, user.id)
        return {
          status: 200,
          body: { items: rows.map(({ host, verified_at }) => ({ host, verifiedAt: verified_at.toISOString() })) },
        }
      },
    }),
    route({
      method: 'put',
      path: '/v1/link-domains/:host',
      summary: 'Serve your links from a domain of your own, whose DNS has the TXT record `escala-links=<your user id>`',
      access: 'user',
      params: hostParams,
      responses: { 200: { description: 'The domain is yours', schema: domain } },
      errors: ['E_LINK_DOMAIN_BUSY', 'E_LINK_DOMAIN_RECORD', 'E_LINK_DOMAIN_TAKEN', 'E_REDIS_UNAVAILABLE'],
      async handle({ params: { host }, user }) {
        const verifiedAt = await claimDomain({ sql: postgres, locks, check, host, userId: user.id })
        return { status: 200, body: { host, verifiedAt: verifiedAt.toISOString() } }
      },
    }),
  ]
}
