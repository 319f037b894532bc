import { z } from 'zod'
import { maxKeyLength } from '../idempotency/request.ts'
import { bodyErrors, isForm, isRaw } from './body.ts'
import { keyErrors, keyHeader, replayedHeader } from './idempotent.ts'
import type { BodySpec, Idempotent, Route } from './route.ts'

export interface OpenApiOptions {
  title: string
  version: string
  /** Name of the cookie that a log-in sets. */
  sessionCookie: string
}

const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  requestId: z.string(),
  detail: z.string().optional(),
  fields: z.record(z.string(), z.string()).optional(),
})

/** OpenAPI 3.1 made of the very schemas that validate. */
export function openApi(routes: Route[], { title, version, sessionCookie }: OpenApiOptions): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][route.method] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: { title, version },
    paths,
    components: {
      securitySchemes: {
        session: { type: 'apiKey', in: 'cookie', name: sessionCookie },
        token: { type: 'http', scheme: 'bearer' },
      },
      schemas: { Problem: jsonSchema(problemSchema, 'output') },
    },
  }
}

function operation(route: Route): Record<string, unknown> {
  const responses = Object.entries(route.responses).map(([status, { description, schema, contentType }]) => [
    status,
    {
      description,
      ...(route.idempotent && { headers: { [replayedHeader]: replayed } }),
      ...(schema && { content: { [contentType ?? 'application/json']: { schema: jsonSchema(schema, 'output') } } }),
    },
  ])
  const codes = new Set([
    ...(route.errors ?? []),
    ...keyErrors(route),
    ...bodyErrors(route.body),
    ...limitErrors(route),
    ...(route.access === 'public' ? [] : ['E_NOT_LOGGED_IN', 'E_SCOPE']),
  ])
  return {
    summary: route.summary,
    ...(route.tag !== undefined && { tags: [route.tag] }),
    ...(route.access !== 'public' && {
      security: [{ session: [] }, ...(route.scopes ? [{ token: route.scopes }] : [])],
    }),
    parameters: [
      ...parameters(route.params, 'path'),
      ...parameters(route.query, 'query'),
      ...Object.entries(route.headers ?? {}).map(([name, description]) => ({
        in: 'header',
        name,
        description,
        schema: { type: 'string' },
      })),
      ...(route.idempotent ? [keyParameter(route.idempotent)] : []),
    ],
    ...(route.body && {
      requestBody: {
        required: route.method !== 'delete',
        content: bodyContent(route.body),
      },
    }),
    responses: {
      ...Object.fromEntries(responses),
      default: {
        description: codes.size > 0 ? `A problem: ${[...codes].join(', ')}, or a general one` : 'A problem',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  }
}

const replayed = {
  description: 'The response of an earlier request with the same key',
  schema: { type: 'string', const: 'true' },
}

const limitErrors = ({ limit }: Route) => [
  ...(limit ? ['E_RATE_LIMITED'] : []),
  ...(limit?.onStoreError === 'refuse' ? ['E_REDIS_UNAVAILABLE'] : []),
]

function keyParameter(idempotent: Idempotent) {
  return {
    in: 'header',
    name: keyHeader,
    required: idempotent === true,
    description: 'One for each effect that is meant; the same again when the response was lost. It is kept for a day',
    schema: { type: 'string', minLength: 1, maxLength: maxKeyLength },
  }
}

function bodyContent(body: BodySpec): Record<string, unknown> {
  if (isForm(body)) {
    const { properties = {}, required = [] } = jsonSchema(body.form.fields, 'input') as {
      properties?: Record<string, unknown>
      required?: string[]
    }
    const file = { type: 'string', format: 'binary' }
    const schema = { type: 'object', properties: { ...properties, file }, required: [...required, 'file'] }
    return { 'multipart/form-data': { schema } }
  }
  if (!isRaw(body)) return { 'application/json': { schema: jsonSchema(body, 'input') } }
  return Object.fromEntries(body.raw.types.map((type) => [type, { schema: { type: 'string', format: 'binary' } }]))
}

function parameters(schema: z.ZodType | undefined, where: 'path' | 'query') {
  if (schema === undefined) return []
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    properties?: Record<string, unknown>
    required?: string[]
  }
  return Object.entries(properties).map(([name, property]) => ({
    in: where,
    name,
    required: where === 'path' || required.includes(name),
    schema: property,
  }))
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Record<string, unknown>
  return rest
}
