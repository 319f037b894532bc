import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { welcome } from './welcome.ts'

test('the command that logs in can be pasted, whatever the password', () => {
  const password = `it's "$HOME" \\ and more`
  const command = welcome('http://x', password, '')
    .split('\n')
    .find((line) => line.includes('curl -c'))
  const said = execFileSync('sh', ['-c', `curl() { for word; do printf "%s\\n" "$word"; done; }; ${command}`], {
    encoding: 'utf8',
  })
  const body = said.split('\n').find((line) => line.startsWith('{')) ?? ''
  expect(JSON.parse(body)).toEqual({ email: 'customer@example.com', password })
})
