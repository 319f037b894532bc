import { kitErrors } from '@escala/kit/errors/errors'
import type { ApiParts } from '@escala/kit/module'
import { sessionUser } from '@escala/kit/sessions/express-session'
import { Router } from 'express'
import { renderSVG } from 'uqr'
import { codePattern } from '../codes.ts'
import { readLink } from '../links.ts'

/** Images of links, as an Express router: `GET /CODE.svg`. */
export function qrRouter({ postgres }: Pick<ApiParts, 'postgres'>): Router {
  const router = Router()
  router.get('/:code.svg', async (req, res) => {
    const { code } = req.params
    const userId = sessionUser(req)
    const found = codePattern.test(code) && userId !== undefined && (await readLink(postgres, code, userId))
    if (!found) throw kitErrors.E_NOT_FOUND()
    res.type('svg').send(renderSVG(`${req.protocol}://${req.get('host')}/l/${code}`))
  })
  return router
}
