import { expect, test } from 'vitest'
import { createChanges } from './changes.ts'

test('a listener that fails keeps no other from hearing of a change', () => {
  const changes = createChanges()
  const heard: string[] = []
  changes.onChange('flags', () => {
    throw new Error('of a listener')
  })
  changes.onChange('flags', () => heard.push('flags'))
  changes.onChange('replicas', () => heard.push('replicas'))
  expect(() => changes.heard({ flags: 2, replicas: 2 })).toThrow('of a listener')
  expect(heard).toEqual(['flags', 'replicas'])
})
