import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { followLink } from '../links.ts'
import { codeParams } from '../schemas.ts'

type Parts = Pick<ApiParts, 'postgres' | 'outbox' | 'metrics'>

export function redirectRoutes({ postgres, outbox, metrics }: Parts): Route[] {
  const redirects = metrics.counter({
    name: 'redirects_total',
    help: 'Links that were followed, by outcome.',
    labels: { outcome: ['found', 'missing'] },
  })
  return [
    route({
      method: 'get',
      path: '/l/:code',
      summary: 'Follow a link',
      access: 'public',
      params: codeParams,
      responses: { 302: { description: 'The target, in Location' } },
      errors: ['E_NOT_FOUND'],
      async handle({ params: { code }, req, requestId, traceparent }) {
        const click = { code, host: req.hostname, requestId, traceparent, counts: req.method === 'GET' }
        const target = await followLink(postgres, outbox, click)
        redirects.inc({ outcome: target === undefined ? 'missing' : 'found' })
        if (target === undefined) throw kitErrors.E_NOT_FOUND()
        return { status: 302, headers: { Location: target, 'Cache-Control': 'no-store' } }
      },
    }),
  ]
}
