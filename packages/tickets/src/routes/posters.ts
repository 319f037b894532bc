import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { idParams, poster } from '../schemas.ts'
import type { ShowReader } from '../show-reader.ts'
import { matches } from './tags.ts'

/** NGINX has the same limit (`client_max_body_size`). */
export const maxBytes = 2 * 1024 * 1024
const keyOf = (showId: string) => `posters/${showId}`

export function posterRoutes(
  { uploads, downloads }: Pick<ApiParts, 'uploads' | 'downloads'>,
  shows: ShowReader,
): Route[] {
  return [
    route({
      method: 'put',
      path: '/v1/shows/:id/poster',
      summary: 'Upload a poster: a PNG, JPEG, WebP or GIF image of at most 2 MiB, as the body',
      access: { role: 'organiser' },
      scopes: ['shows:write'],
      params: idParams,
      responses: { 200: { description: 'What was stored', schema: poster } },
      errors: ['E_FORBIDDEN', 'E_NOT_FOUND', 'E_BODY_TOO_LARGE', 'E_UNSUPPORTED_MEDIA_TYPE', 'E_STORAGE_UNAVAILABLE'],
      async handle({ params, req }) {
        if (Number(req.get('content-length')) > maxBytes) throw kitErrors.E_BODY_TOO_LARGE()
        if ((await shows.read(params.id)) === undefined) throw kitErrors.E_NOT_FOUND()
        const said = req.get('content-type')?.split(';')[0]?.trim().toLowerCase()
        const stored = await uploads.put(keyOf(params.id), req, { maxBytes, contentType: said })
        return { status: 200, body: { contentType: stored.contentType }, headers: { ETag: `"${stored.tag}"` } }
      },
    }),
    route({
      method: 'get',
      path: '/v1/shows/:id/poster',
      summary: 'The poster of a show',
      access: 'public',
      params: idParams,
      headers: { 'If-None-Match': 'The ETag of an earlier response: 304 while it is still the same' },
      responses: { 200: { description: 'The image' }, 304: { description: 'Not modified' } },
      errors: ['E_NOT_FOUND', 'E_STORAGE_UNAVAILABLE', 'E_OVERLOADED', 'E_TOO_MANY_CONNECTIONS'],
      async handle({ params, req, res }) {
        downloads.begin(req, res)
        const found = await uploads.get(keyOf(params.id))
        if (found === undefined) throw kitErrors.E_NOT_FOUND()
        const headers = { ETag: `"${found.tag}"`, 'Cache-Control': 'no-cache' }
        if (matches(req.get('if-none-match'), headers.ETag)) return { status: 304, headers }
        // It came from a user: whatever is in it, a browser must show it as an image and as nothing else.
        res.set({
          ...headers,
          'Content-Type': found.contentType,
          'Content-Security-Policy': "default-src 'none'; sandbox",
        })
        res.status(200).end(found.data)
        return undefined
      },
    }),
  ]
}
