import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { findOperation, type Operation, type Schema } from './document.ts'
import type { FuzzRequest } from './requests.ts'
import type { RawAnswer } from './wire.ts'

export interface Expectations {
  /** Error code → the statuses that it comes with. */
  codes: Record<string, number[]>
  /** Codes of 5xx that this run provokes on purpose: counted, and no findings. */
  provoked?: string[]
  /** Addresses that are served and not in the document, such as its own. */
  undocumented: RegExp
  /** Longest time until an answer is complete. */
  withinMs: number
  maxHeadBytes: number
  /** Longest body of an error. */
  maxErrorBytes: number
  /** Longest body of any other answer. */
  maxBodyBytes: number
}

/** Returns what is wrong with an answer, each in words that are the same whenever it happens again. */
export type Judge = (request: FuzzRequest, answer: RawAnswer) => string[]

export function createJudge(operations: Operation[], expected: Expectations): Judge {
  const validate = createValidator()
  return (request, answer) => {
    const { status, headers, headBytes, body, ms, failure } = answer
    if (failure !== undefined) return isUnfinished(request) && headBytes === 0 ? [] : [failure]
    const wrong: string[] = []
    if (ms > expected.withinMs) wrong.push(`took longer than ${expected.withinMs} ms`)
    if (headBytes > expected.maxHeadBytes) wrong.push('the head is too large')
    if (headers['x-request-id'] === undefined) wrong.push('no X-Request-Id')
    if (headers['x-content-type-options'] !== 'nosniff') wrong.push('no X-Content-Type-Options')
    if (status >= 400) return [...wrong, ...judgeError(request, answer, expected)]
    if (body.length > expected.maxBodyBytes) wrong.push('the body is too large')
    if (status >= 300 && headers.location !== undefined) {
      return request.target.includes('?') && headers.location.includes('?')
        ? [...wrong, 'a redirect repeats the query']
        : wrong
    }
    const operation = findOperation(operations, request.method, request.target)
    if (operation === undefined) {
      return expected.undocumented.test(request.target) || request.method === 'OPTIONS'
        ? wrong
        : [...wrong, `${status} of no operation`]
    }
    return [...wrong, ...judgeSuccess(operation, request, answer, validate)]
  }
}

/** Whether less comes than the head announces: a server may wait for the rest, and then close without an answer. */
function isUnfinished({ headers, body = Buffer.alloc(0) }: FuzzRequest): boolean {
  return headers.some(([name, value]) => {
    if (/^content-length$/i.test(name)) return Number(value) > body.length
    return /^transfer-encoding$/i.test(name) && !body.toString('latin1').endsWith('0\r\n\r\n')
  })
}

function judgeError({ method }: FuzzRequest, { status, headers, body }: RawAnswer, expected: Expectations): string[] {
  const wrong: string[] = []
  const type = headers['content-type'] ?? ''
  if (!/^application\/problem\+json\b/.test(type)) wrong.push(`${status} as ${type || 'nothing'}`)
  if (method === 'HEAD') return status >= 500 && status !== 501 && status !== 505 ? [...wrong, `${status}`] : wrong
  if (body.length > expected.maxErrorBytes) wrong.push(`${status} with a large body`)
  const problem = parseJson(body)
  const code = String(problem?.code)
  const statuses = expected.codes[code]
  if (statuses === undefined) return [...wrong, `${status} with a code that is not in the catalogue`]
  if (!statuses.includes(status)) wrong.push(`${status} with the code ${code}`)
  if (problem?.status !== status) wrong.push(`${code}: the status in the body is another one`)
  if (typeof problem?.title !== 'string' || typeof problem.type !== 'string')
    wrong.push(`${code} without title or type`)
  if (typeof problem?.requestId !== 'string') wrong.push(`${code} without requestId`)
  if (/node_modules|\.ts:\d+/.test(body.toString('latin1'))) wrong.push(`${code} shows the code's inside`)
  // 501 and 505 are the client's: a transfer coding or a version of HTTP that does not exist.
  const isOurs = status >= 500 && status !== 501 && status !== 505
  return isOurs && !expected.provoked?.includes(code) ? [...wrong, `${status} ${code}`] : wrong
}

function judgeSuccess(operation: Operation, { method }: FuzzRequest, answer: RawAnswer, validate: Validate): string[] {
  const { status, headers, body } = answer
  const content = operation.responses[status] ?? operation.responses[`${Math.floor(status / 100)}XX`]
  if (content === undefined) return [`${status} is not documented`]
  if (method === 'HEAD' || status === 204 || status === 304) return body.length > 0 ? [`${status} with a body`] : []
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  const types = Object.keys(content)
  if (types.length === 0) return []
  const schema = content[type] ?? content[`${type.split('/')[0]}/*`] ?? content['*/*']
  if (schema === undefined) return [`${status} as ${type}, which is not documented`]
  if (!/\bjson$/.test(type)) return []
  const value = parseJson(body)
  if (value === undefined) return [`${status} with a body that is not JSON`]
  const problem = validate(schema, value)
  return problem === undefined ? [] : [`${status} with a body outside of its schema: ${problem}`]
}

type Validate = (schema: Schema, value: unknown) => string | undefined

function createValidator(): Validate {
  const ajv = new Ajv2020({ strict: false, allErrors: false })
  formats.default(ajv)
  const compiled = new Map<Schema, ValidateFunction>()
  return (schema, value) => {
    const check = compiled.get(schema) ?? ajv.compile(schema)
    compiled.set(schema, check)
    if (check(value)) return undefined
    const [error] = check.errors ?? []
    return `${error?.instancePath.replace(/\d+/g, 'n')} ${error?.message}`
  }
}

function parseJson(body: Buffer): Record<string, unknown> | undefined {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}
