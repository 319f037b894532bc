import { randomBytes, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Uploads } from './uploads.ts'

const heads = {
  'image/png': Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
  'image/jpeg': Buffer.from('\xff\xd8\xff\xe0', 'latin1'),
  'image/gif': Buffer.from('GIF89a', 'latin1'),
  'image/webp': Buffer.from('RIFF\x10\0\0\0WEBP', 'latin1'),
}

export function image(type: keyof typeof heads, bytes = 5000): Buffer {
  return Buffer.concat([heads[type], randomBytes(bytes - heads[type].length)])
}

/** In pieces, as a request brings it. */
export function inPieces(data: Buffer, size = 7): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
    })(),
  )
}

/** What every adapter keeps. */
export function describeUploads(
  name: string,
  create: () => Promise<{ uploads: Uploads; stop(): Promise<void> }>,
): void {
  describe(`uploads: ${name}`, () => {
    let uploads: Uploads
    let stop: () => Promise<void>
    beforeAll(async () => {
      ;({ uploads, stop } = await create())
    })
    afterAll(() => stop())
    const maxBytes = 100_000

    for (const type of Object.keys(heads) as (keyof typeof heads)[]) {
      test(`gives back what it was given: ${type}`, async () => {
        const [key, data] = [`pictures/${randomUUID()}`, image(type)]
        const { tag } = await uploads.put(key, inPieces(data), { maxBytes, contentType: type })
        expect(await uploads.get(key)).toEqual({ contentType: type, data, tag })
      })
    }

    test('nothing there is nothing', async () => {
      expect(await uploads.get(`pictures/${randomUUID()}`)).toBeUndefined()
    })

    test('the second replaces the first, and has another tag', async () => {
      const key = `pictures/${randomUUID()}`
      const first = await uploads.put(key, inPieces(image('image/png')), { maxBytes })
      const data = image('image/gif', 300)
      const second = await uploads.put(key, inPieces(data), { maxBytes })
      expect(second.tag).not.toBe(first.tag)
      expect(await uploads.get(key)).toEqual({ contentType: 'image/gif', data, tag: second.tag })
    })

    test('a body that is too large is refused while it comes, and nothing of it is kept', async () => {
      const key = `pictures/${randomUUID()}`
      let sent = 0
      const endless = Readable.from(
        (function* () {
          yield image('image/png', 1000)
          for (;;) yield Buffer.alloc(1000, sent++)
        })(),
      )
      await expect(uploads.put(key, endless, { maxBytes })).rejects.toMatchObject({ code: 'E_BODY_TOO_LARGE' })
      expect(sent).toBeLessThan(200)
      expect(await uploads.get(key)).toBeUndefined()
      const exact = image('image/png', maxBytes)
      await uploads.put(key, inPieces(exact, 9999), { maxBytes })
      expect((await uploads.get(key))?.data.length).toBe(maxBytes)
    })

    test('what is no image is refused, whatever it calls itself', async () => {
      const key = `pictures/${randomUUID()}`
      for (const text of ['<svg onload="alert(1)"/>', '<!doctype html><script>', 'GIF', '', 'RIFF1234WAVE']) {
        const put = uploads.put(key, inPieces(Buffer.from(text)), { maxBytes, contentType: 'image/png' })
        await expect(put).rejects.toMatchObject({ code: 'E_UNSUPPORTED_MEDIA_TYPE' })
      }
      const put = uploads.put(key, inPieces(image('image/gif')), { maxBytes, contentType: 'image/png' })
      await expect(put).rejects.toMatchObject({ code: 'E_UNSUPPORTED_MEDIA_TYPE' })
      expect(await uploads.get(key)).toBeUndefined()
    })

    test('a file of any type is kept where that is asked for, and its type is never what it calls itself', async () => {
      const key = `files/${randomUUID()}`
      for (const data of [Buffer.from('<!doctype html><script>'), Buffer.alloc(0), image('image/gif')]) {
        const contentType = data.length > 1000 ? 'image/gif' : 'application/octet-stream'
        const { tag } = await uploads.put(key, [data], { maxBytes, types: 'any', contentType: 'text/html' })
        expect(await uploads.get(key)).toEqual({ contentType, data, tag })
      }
    })

    test('a body that breaks off is not kept', async () => {
      const key = `pictures/${randomUUID()}`
      const broken = Readable.from(
        (function* () {
          yield image('image/png', 1000)
          throw new Error('the client went away')
        })(),
      )
      await expect(uploads.put(key, broken, { maxBytes })).rejects.toThrow('went away')
      expect(await uploads.get(key)).toBeUndefined()
    })

    test('keys are names, not paths', async () => {
      for (const key of ['a/../b', '/etc/passwd', '', 'a//b', 'a?b', 'a%2e']) {
        await expect(uploads.put(key, inPieces(image('image/png')), { maxBytes })).rejects.toThrow('not a key')
        await expect(uploads.get(key)).rejects.toThrow('not a key')
      }
    })
  })
}
