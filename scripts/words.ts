/** A word or phrase that the style of comments, messages and pages avoids, with what to write instead. */
export interface Rule {
  name: string
  pattern: RegExp
  instead: string
  /** Only at the beginning of a comment. */
  begins?: true
}

export interface Finding {
  line: number
  rule: Rule
  text: string
}

export const rules: Rule[] = [
  {
    name: 'tell',
    pattern: /\b(?:tells?|told|telling)\b(?! (?:you|us)\b)/gi,
    instead: 'report, log, send, notify or return',
  },
  {
    name: 'nobody',
    pattern: /\b(?:nobody|somebody|everybody|anybody|whoever)\b(?! else)/gi,
    instead: 'the noun: the client, the caller, the replica, the operator; or no one, everyone, anyone',
  },
  { name: 'anew', pattern: /\banew\b/gi, instead: 'again' },
  { name: 'away', pattern: /\b(?:is|are|was|were|be|been|being) away\b(?! from)/gi, instead: 'unreachable, or down' },
  { name: 'say', pattern: /, say(?=[,;:.)])/gi, instead: 'for example, such as' },
  { name: 'answer with', pattern: /\banswer(?:s|ed|ing)? with\b/gi, instead: 'return, or respond with' },
  { name: 'but for', pattern: /\bbut for\b/gi, instead: 'except' },
  { name: 'in turns', pattern: /\bin turns\b/gi, instead: 'alternately, or by turns' },
  { name: 'mend', pattern: /\bmend(?:s|ed|ing)?\b/gi, instead: 'fix, or repair' },
  {
    name: 'Of the',
    pattern: /^Of (?:the|an?|what|those|them|one|all)\b/g,
    instead: 'a whole sentence that begins with its subject, or a verb in the third person',
    begins: true,
  },
]

const blank = (match: string) => match.replace(/[^\n]/g, ' ')

/** Finds what the rules avoid in the prose of a Markdown page: not in its code, its links' targets or what a program printed. */
export function findInPage(text: string): Finding[] {
  const prose = text
    .replace(/^ *```[\s\S]*?^ *```/gm, blank)
    .replace(/`[^`]*`/g, blank)
    .replace(/\]\([^)\s]*\)/g, blank)
  return search(prose, 0, text, rules)
}

// In this order: what a string holds is no comment, and what a comment holds is no string.
const tokens =
  /(?<line>\/\/[^\n]*)|(?<block>\/\*[\s\S]*?\*\/)|(?<string>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|(?<=[=(,:[!&|?{};]\s*|return )\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//g

/** Finds what the rules avoid in the comments and strings of TypeScript or JavaScript. */
export function findInCode(text: string): Finding[] {
  const findings: Finding[] = []
  for (const match of text.matchAll(tokens)) {
    const { line, block, string } = match.groups ?? {}
    if (string !== undefined) {
      if (!/\s/.test(string)) continue // a name, an address or a path
      findings.push(
        ...search(
          withoutExpressions(string),
          match.index,
          text,
          rules.filter(({ begins }) => !begins),
        ),
      )
      continue
    }
    const comment = line ?? block
    if (comment === undefined) continue // a regular expression
    const opening = /^(?:\/\/+|\/\*+)\s*\**\s*/.exec(comment)?.[0].length ?? 0
    findings.push(...search(comment.slice(opening).replace(/`[^`]*`/g, blank), match.index + opening, text, rules))
  }
  return findings
}

/** Blanks `${…}`, which holds code. */
function withoutExpressions(string: string): string {
  return string.startsWith('`') ? string.replace(/\$\{[^{}]*\}/g, (match) => ' '.repeat(match.length)) : string
}

function search(part: string, offset: number, whole: string, wanted: Rule[]): Finding[] {
  return wanted.flatMap((rule) =>
    [...part.matchAll(rule.pattern)].map(({ index }) => {
      const line = whole.slice(0, offset + index).split('\n').length
      return { line, rule, text: whole.split('\n')[line - 1]?.trim() ?? '' }
    }),
  )
}
