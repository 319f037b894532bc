import { kitErrors } from '@escala/kit/errors/errors'
import { pageOf, pageQuery } from '@escala/kit/http/cursor'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { announceAvailability } from '../live.ts'
import { idParams, type Show, show, showChange, showInput } from '../schemas.ts'
import type { ShowReader } from '../show-reader.ts'
import { addShow, changeShow, listShows } from '../shows.ts'
import { matches, parseVersions, tagOf } from './tags.ts'

type Parts = Pick<ApiParts, 'postgres' | 'events'>

export function showRoutes({ postgres, events }: Parts, shows: ShowReader): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/shows',
      summary: 'Shows, in the order in which they start',
      access: 'public',
      query: pageQuery,
      responses: { 200: { description: 'One page of shows', schema: pageOf(show) } },
      handle: async ({ query }) => ({
        status: 200,
        body: await listShows(postgres, query),
        headers: { 'Cache-Control': 'no-cache' },
      }),
    }),
    route({
      method: 'get',
      path: '/v1/shows/:id',
      summary: 'A show, with the tickets that are left',
      access: 'public',
      params: idParams,
      headers: { 'If-None-Match': 'The ETag of an earlier response: 304 while it is still the same' },
      responses: { 200: { description: 'The show', schema: show }, 304: { description: 'Not modified' } },
      errors: ['E_NOT_FOUND'],
      async handle({ params, req }) {
        const found = await shows.read(params.id)
        if (found === undefined) throw kitErrors.E_NOT_FOUND()
        const headers = { ETag: tagOf(found), 'Cache-Control': 'no-cache' }
        if (matches(req.get('if-none-match'), headers.ETag)) return { status: 304, headers }
        return { status: 200, body: found, headers }
      },
    }),
    route({
      method: 'post',
      path: '/v1/shows',
      summary: 'Put a show on sale',
      access: { role: 'organiser' },
      scopes: ['shows:write'],
      body: showInput,
      idempotent: 'optional',
      responses: { 201: { description: 'The show', schema: show } },
      errors: ['E_FORBIDDEN'],
      async handle({ body, once }) {
        const added = await once.statement<Show>(addShow(body))
        if (added === undefined) throw new Error('a new show was refused without a reason')
        return { ...added, headers: { Location: `/v1/shows/${added.body.id}`, ETag: tagOf(added.body) } }
      },
    }),
    route({
      method: 'patch',
      path: '/v1/shows/:id',
      summary: 'Change a show',
      access: { role: 'organiser' },
      scopes: ['shows:write'],
      params: idParams,
      body: showChange,
      headers: { 'If-Match': 'The ETag of the show as it was read, or its version in quotes: "3"' },
      responses: { 200: { description: 'The show as it is now', schema: show } },
      errors: ['E_FORBIDDEN', 'E_NOT_FOUND', 'E_VERSION_MISSING', 'E_VERSION_MISMATCH', 'E_CAPACITY_TOO_SMALL'],
      async handle({ params, body, req, log }) {
        const versions = parseVersions(req.get('if-match'))
        const { show: changed, revision } = await changeShow(postgres, params.id, versions, body)
        await shows.changed(params.id, changed.version, revision)
        if (body.capacity !== undefined) {
          await announceAvailability(events, log, params.id, { available: changed.available, revision })
        }
        return { status: 200, body: changed, headers: { ETag: tagOf(changed) } }
      },
    }),
  ]
}
