import { pageOf, pageQuery } from '@escala/kit/http/cursor'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { listReports } from '../reports.ts'
import { salesReport } from '../schemas.ts'

export function reportRoutes({ postgres }: Pick<ApiParts, 'postgres'>): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/reports/sales',
      summary: 'Sales by day and show, as the nightly schedule computed them',
      access: { role: 'organiser' },
      scopes: ['reports:read'],
      query: pageQuery,
      responses: { 200: { description: 'One page, the newest day first', schema: pageOf(salesReport) } },
      errors: ['E_FORBIDDEN'],
      handle: async ({ query }) => ({ status: 200, body: await listReports(postgres, query) }),
    }),
  ]
}
