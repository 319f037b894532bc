import { Busboy, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy'
import type { Request } from 'express'
import { kitErrors } from '../errors/errors.ts'

/** One file that a browser's form sends. All of it is in memory. */
export interface FormFile {
  /** As its sender calls it, without folders; at most 200 characters. For people: never a path, never a key. */
  name: string
  data: Buffer
}

/** What surrounds the file, and is bounded by the way. */
const formLimits = { fields: 20, fieldNameSize: 100, fieldSize: 10_000, headerPairs: 20, headerSize: 4096 }
const maxNameLength = 200

/**
 * Reads a `multipart/form-data` body: fields, and one file under the name `file`. Rejects with `E_UNSUPPORTED_MEDIA_TYPE`,
 * `E_BODY_TOO_LARGE`, `E_VALIDATION`, `E_MALFORMED_REQUEST`, or with the reason of `req.deadline` when the client goes away or is too slow.
 */
export async function readForm(req: Request, maxBytes: number) {
  if (!req.is('multipart/form-data')) throw kitErrors.E_UNSUPPORTED_MEDIA_TYPE({ detail: 'send multipart/form-data' })
  const fields: Record<string, string> = Object.create(null) // a client's field may be `__proto__`
  let file: FormFile | undefined
  const read = Promise.withResolvers<void>()
  const refuse = (error: unknown) => read.reject(error)
  const endsEarly = () => refuse(kitErrors.E_MALFORMED_REQUEST({ detail: 'the form ends too early' }))
  const parser = createParser(req, maxBytes)
  parser.on('field', (name, value, isNameCut, isValueCut) => {
    if (isNameCut || isValueCut) refuse(kitErrors.E_BODY_TOO_LARGE({ detail: 'a field is too long' }))
    else if (Object.hasOwn(fields, name)) refuse(invalid(name, 'is there twice'))
    else fields[name] = value
  })
  parser.on('file', (field, stream, name) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.once('limit', () => refuse(kitErrors.E_BODY_TOO_LARGE({ detail: `the file has at most ${maxBytes} bytes` })))
    stream.on('error', endsEarly) // without a listener, a form that breaks off would end the process
    stream.once('end', () => {
      file = { name: nameOf(name), data: Buffer.concat(chunks) }
    })
    if (field !== 'file') refuse(invalid(field, 'the file is sent under the name `file`'))
  })
  parser.once('filesLimit', () => refuse(invalid('file', 'one file in a request')))
  parser.once('fieldsLimit', () =>
    refuse(kitErrors.E_BODY_TOO_LARGE({ detail: `at most ${formLimits.fields} fields` })),
  )
  parser.on('error', endsEarly)
  parser.once('finish', () => read.resolve())
  const abort = () => refuse(req.deadline.reason)
  req.deadline.addEventListener('abort', abort)
  req.pipe(parser)
  try {
    if (req.deadline.aborted) abort()
    await read.promise
    if (file === undefined) throw invalid('file', 'is missing')
    return { fields, file }
  } finally {
    // What is left of the body is read by the server, since the connection may serve another client.
    req.unpipe(parser)
    req.deadline.removeEventListener('abort', abort)
  }
}

function createParser(req: Request, maxBytes: number): BusboyInstance {
  try {
    const limits = { ...formLimits, files: 1, fileSize: maxBytes, parts: formLimits.fields + 1 }
    return new Busboy({ headers: req.headers as BusboyHeaders, limits })
  } catch {
    throw kitErrors.E_MALFORMED_REQUEST({ detail: 'the form has no boundary' })
  }
}

const invalid = (field: string, message: string) => kitErrors.E_VALIDATION({ fields: { [field]: message } })

/** Without what a file system or a terminal would take for something else. */
function nameOf(given: string | undefined): string {
  const last = (given ?? '').split(/[/\\]/).at(-1) ?? ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  const plain = last.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '').trim()
  return plain.slice(0, maxNameLength) || 'file'
}
