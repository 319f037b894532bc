import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { renderSVG } from 'uqr'
import { readLink } from '../links.ts'
import { codeParams } from '../schemas.ts'

export function qrRoutes({ postgres }: Pick<ApiParts, 'postgres'>): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/links/:code/qr',
      summary: 'The link as a QR image',
      access: 'user',
      params: codeParams,
      responses: { 200: { description: 'The image', contentType: 'image/svg+xml' } },
      errors: ['E_NOT_FOUND'],
      async handle({ params: { code }, user, req, res }) {
        if ((await readLink(postgres, code, user.id)) === undefined) throw kitErrors.E_NOT_FOUND()
        res.type('svg').send(renderSVG(`${req.protocol}://${req.get('host')}/l/${code}`))
        return undefined
      },
    }),
  ]
}
