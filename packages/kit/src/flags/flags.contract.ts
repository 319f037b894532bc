import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defineFlags, type Flags } from './flags.ts'

export const testFlags = defineFlags({
  salesOpen: { default: true, description: 'Whether sales are open' },
  maxItems: { default: 10, description: 'Items in one request' },
  banner: { default: '', description: 'Shown on top' },
})
export const declared = Object.values(testFlags)

/** What every adapter keeps. */
export function describeFlags(name: string, create: () => Promise<{ flags: Flags; stop(): Promise<void> }>): void {
  describe(`flags: ${name}`, () => {
    let flags: Flags
    let stop: () => Promise<void>
    beforeAll(async () => {
      ;({ flags, stop } = await create())
      await flags.start()
    })
    afterAll(async () => {
      await flags.stop()
      await stop()
    })

    test('a flag is its default until it is set', async () => {
      expect(flags.get(testFlags.salesOpen)).toBe(true)
      await flags.set('salesOpen', false)
      expect(flags.get(testFlags.salesOpen)).toBe(false)
      await flags.set('maxItems', 3)
      await flags.set('banner', 'Sold "out"')
      expect(flags.all().map(({ flag, value }) => [flag.name, value])).toEqual([
        ['salesOpen', false],
        ['maxItems', 3],
        ['banner', 'Sold "out"'],
      ])
    })

    test('an unknown flag is an error, where it is set and where it is read', async () => {
      await expect(flags.set('salesopen', true)).rejects.toMatchObject({ code: 'E_UNKNOWN_FLAG' })
      const { other } = defineFlags({ other: { default: true, description: '' } })
      expect(() => flags.get(other)).toThrow('the flag other is not declared')
    })

    test('a value of another type is refused', async () => {
      for (const value of ['false', 0]) {
        await expect(flags.set('salesOpen', value)).rejects.toMatchObject({ code: 'E_VALIDATION' })
      }
      await expect(flags.set('maxItems', Number.NaN)).rejects.toMatchObject({ code: 'E_VALIDATION' })
    })
  })
}
