import { describe, expect, it } from 'vitest'
import { findInCode, findInPage } from './words.ts'

const told = ['$', 'told'].join('{').concat('}') // `${told}`, in code that is searched
const names = (findings: { line: number; rule: { name: string } }[]) =>
  findings.map(({ line, rule }) => [line, rule.name])

describe('the words that pages avoid', () => {
  it.each([
    ['The log tells why.', 'tell'],
    ['Nobody can log in.', 'nobody'],
    ['The list is read anew.', 'anew'],
    ['Redis is away for a minute.', 'away'],
    ['After a failover, say, it connects again.', 'say'],
    ['Routes that are slow (reports, say) need more time.', 'say'],
    ['It answers with a 503.', 'answer with'],
    ['Any character, but for NUL.', 'but for'],
    ['Old and new prices come in turns.', 'in turns'],
    ['A restart mends it.', 'mend'],
  ])('%s', (text, name) => {
    expect(names(findInPage(`# A page\n\n${text}\n`))).toEqual([[3, name]])
  })

  it('in usual English there are none', () => {
    const text = [
      'The log says why. No one can log in, and nobody else is affected.',
      'Redis is unreachable. Keep away from that; it is far away from here.',
      'What PM2 does not tell you: some say that it restarts, others say nothing. Tell us, and the numbers, they say how far it goes.',
      'The page of the shop. Of course. Amend the commit, recommend a fix.',
    ]
    expect(names(findInPage(text.join('\n')))).toEqual([])
  })

  it('code, links and what a program printed are left out', () => {
    const text =
      '`told` and [the cache](cache/told.ts)\n\n```\n$ npm run lab\nnobody told it\n```\n\n  ```\n  anew\n  ```\n'
    expect(names(findInPage(text))).toEqual([])
  })
})

describe('the words that code avoids', () => {
  it('in comments and strings', () => {
    const text = [
      '/** Tells the others. */',
      'const told = 1 // nobody waits',
      "throw new Error('Redis is away')",
      `const text = \`${told} anew\``,
      '/*',
      ' * A list, say, of names.',
      ' */',
    ]
    expect(names(findInCode(text.join('\n')))).toEqual([
      [1, 'tell'],
      [2, 'nobody'],
      [3, 'away'],
      [4, 'anew'],
      [6, 'say'],
    ])
  })

  it('a comment that begins with "Of the"', () => {
    expect(
      names(findInCode("// Of the others\n/** Of what came. */\n// One of the others\nlog('Of the others')")),
    ).toEqual([
      [1, 'Of the'],
      [2, 'Of the'],
    ])
  })

  it('not in names, expressions and regular expressions', () => {
    const text = `import './told.ts'\nconst nobody = \`${told}\`\nconst pattern = /[/"]nobody/\nif (/it's told/.test(nobody)) anew()`
    expect(names(findInCode(text))).toEqual([])
  })
})
