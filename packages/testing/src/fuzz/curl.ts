import type { RawRequest } from './wire.ts'

/** Returns the command that sends the request again. What curl cannot send as it is goes through a raw connection. */
export function toCurl(url: string, { method, target, headers, body }: RawRequest): string {
  const isPlain = /^[!-~]+$/.test(target) && target.startsWith('/') && /^[A-Z]+$/.test(method)
  if (!isPlain || headers.some(([name, value]) => !/^[\w-]+$/.test(name) || /[\r\n\0]/.test(value))) {
    return toRaw(url, { method, target, headers, body })
  }
  const parts = ['curl', '-i', '--path-as-is', '--globoff', ...(method === 'HEAD' ? ['--head'] : ['-X', method])]
  for (const [name, value] of headers) parts.push('-H', quote(value === '' ? `${name};` : `${name}: ${value}`))
  if (body !== undefined) parts.push('--data-binary', '@-')
  parts.push(quote(`${url}${target}`))
  return body === undefined ? parts.join(' ') : `printf ${quoteBytes(body)} | ${parts.join(' ')}`
}

function toRaw(url: string, { method, target, headers, body }: RawRequest): string {
  const { hostname, port, host } = new URL(url)
  const lines = [`${method} ${target} HTTP/1.1`, `Host: ${host}`, 'Connection: close']
  const length: [string, string][] = body === undefined ? [] : [['Content-Length', String(body.length)]]
  const head = [...lines, ...[...headers, ...length].map(([name, value]) => `${name}: ${value}`)].join('\r\n')
  const bytes = Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), body ?? Buffer.alloc(0)])
  return `printf ${quoteBytes(bytes)} | nc ${hostname} ${port}`
}

/** For a shell; bytes that it cannot hold are written as `$'\xff'`. */
function quote(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`
  return `$'${text.replace(/[\\']|[^\x20-\x7e]/g, (character) => `\\x${hex(character.charCodeAt(0))}`)}'`
}

/** For printf, which reads octal escapes; long runs of one byte become a substitution that makes them. */
function quoteBytes(bytes: Buffer): string {
  const text = bytes.toString('latin1')
  const pieces = text.split(/(([\s\S])\2{99,})/).filter((_, index) => index % 3 !== 2)
  return pieces
    .map((piece, index) => {
      if (piece === '') return ''
      if (index % 2 === 0) return `'${piece.split('').map(toOctal).join('')}'`
      return `"$(printf '${toOctal(piece.charAt(0))}%.0s' $(seq ${piece.length}))"`
    })
    .join('')
}

function toOctal(character: string): string {
  if (character === '%') return '%%'
  return /[\x20-\x7e]/.test(character) && !/[\\']/.test(character)
    ? character
    : `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`
}

function hex(code: number): string {
  return code.toString(16).padStart(2, '0')
}
