/** The parts of a JSON Schema that values are generated from; others only restrict what a response may be. */
export interface Schema {
  [keyword: string]: unknown
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  anyOf?: Schema[]
  oneOf?: Schema[]
  enum?: unknown[]
  const?: unknown
  format?: string
  pattern?: string
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  minItems?: number
  maxItems?: number
}

export interface Parameter {
  in: 'path' | 'query' | 'header' | 'cookie'
  name: string
  required?: boolean
  schema?: Schema
}

type Content = Record<string, { schema?: Schema }>

interface DocumentedOperation {
  parameters?: Parameter[]
  requestBody?: { content?: Content }
  responses?: Record<string, { content?: Content }>
}

/** An OpenAPI document, 3.0 or 3.1, whose references point into itself. */
export interface OpenApiDocument {
  paths?: Record<string, Record<string, unknown>>
  components?: Record<string, unknown>
}

export interface Operation {
  /** `PATCH /v1/things/{id}`: how findings name it. */
  name: string
  method: string
  /** As in the document: `/v1/things/{id}`. */
  path: string
  parameters: Parameter[]
  /** Media type → schema of what it takes. */
  bodies: Record<string, Schema>
  /** Status, `4XX` or `default` → media type → schema of what it answers. */
  responses: Record<string, Record<string, Schema>>
}

const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']

/** Reads every operation of a document, with references replaced by what they name. */
export function readOperations(document: OpenApiDocument): Operation[] {
  const resolved = <T>(value: unknown) => resolve(document, value) as T
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => methods.includes(method))
      .map(([method, definition]) => {
        const { parameters = [], requestBody, responses = {} } = resolved<DocumentedOperation>(definition)
        const shared = resolved<Parameter[] | undefined>(item.parameters) ?? []
        return {
          name: `${method.toUpperCase()} ${path}`,
          method: method.toUpperCase(),
          path,
          parameters: [...shared, ...parameters],
          bodies: schemasOf(requestBody?.content),
          responses: Object.fromEntries(
            Object.entries(responses).map(([status, { content }]) => [status, schemasOf(content)]),
          ),
        }
      }),
  )
}

/**
 * Returns the operation that a request in its canonical spelling asks for. A target may also be a whole address, which every
 * server must take (RFC 9112, 3.2.2); a fragment is not for servers.
 */
export function findOperation(operations: Operation[], method: string, target: string): Operation | undefined {
  const path = target.replace(/^https?:\/\/[^/]*/i, '').split(/[?#]/)[0] ?? ''
  const segments = path.split('/')
  const matching = operations.filter(({ path }) => {
    const pattern = path.split('/')
    return (
      pattern.length === segments.length &&
      pattern.every((part, index) => (part.startsWith('{') ? segments[index] !== '' : part === segments[index]))
    )
  })
  // `/orders/{id}` and `/orders/latest` may both match: the one without a parameter is meant.
  const [first] = matching.toSorted((a, b) => a.path.split('{').length - b.path.split('{').length)
  const same = matching.filter(({ path }) => path === first?.path)
  return (
    same.find((one) => one.method === method) ??
    (method === 'HEAD' ? same.find((one) => one.method === 'GET') : undefined)
  )
}

function schemasOf(content: Content = {}): Record<string, Schema> {
  return Object.fromEntries(Object.entries(content).map(([type, { schema = {} }]) => [type.toLowerCase(), schema]))
}

function resolve(document: OpenApiDocument, value: unknown, within: string[] = []): unknown {
  if (Array.isArray(value)) return value.map((item) => resolve(document, item, within))
  if (typeof value !== 'object' || value === null) return value
  const { $ref } = value as Schema
  if (typeof $ref === 'string') {
    // A schema that contains itself ends here: anything is allowed below.
    return within.includes($ref) ? {} : resolve(document, lookUp(document, $ref), [...within, $ref])
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(document, inner, within)]))
}

function lookUp(document: OpenApiDocument, reference: string): unknown {
  const names = reference.replace(/^#\//, '').split('/')
  return names.reduce<unknown>(
    (value, name) => (value as Record<string, unknown> | undefined)?.[name.replace(/~1/g, '/').replace(/~0/g, '~')],
    document,
  )
}
