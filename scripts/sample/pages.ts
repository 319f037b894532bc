export interface Sample {
  /** Slugs whose folders and pages go. */
  labs: string[]
  errors: string[]
  settings: string[]
}

/**
 * A page without what belongs to the sample: what stands between `<!-- sample -->` and `<!-- /sample -->`; its errors'
 * sections and its variables' rows; lines of tables, lists and code that name it or a lab that goes. A link to a page
 * that goes becomes plain text. A guide may have the name of a lab, and stays: among themselves, guides (`isGuide`) link to each other by name alone.
 */
export function withoutSample(page: string, { labs, errors, settings }: Sample, isGuide = false): string {
  const lab = `(?:${labs.join('|') || '-'})`
  const toLab = `(?:[^)]*/)${isGuide ? '' : '?'}(?<!guides/)${lab}\\.md`
  const names = new RegExp(
    `packages/tickets|apps/api/src/scoped-tokens|npm run sample:delete|npm run lab ${lab}(?![\\w-])|\\]\\(${toLab}\\)`,
  )
  const row = new RegExp(`^\\| \`(?:${settings.join('|')})\` \\|`)
  const section = new RegExp(`^### \`?(?:${errors.join('|')})\`?\\n[\\s\\S]*?(?=^#|(?![\\s\\S]))`, 'gm')
  const text = page.replace(/<!-- sample -->[\s\S]*?<!-- \/sample -->\n?/g, '').replace(section, '')

  let fence: string | undefined
  const lines = text.split('\n').flatMap((line) => {
    const mark = /^```(\w*)/.exec(line)
    if (mark) fence = fence === undefined ? mark[1] : undefined
    if (fence === 'mermaid') return [withoutNode(line)]
    const isItem = fence !== undefined || /^\s*(\||-|\d+\.)\s?/.test(line)
    return row.test(line) || (isItem && names.test(line)) ? [] : [line]
  })
  return lines
    .join('\n')
    .replaceAll('`npm run sample:delete`', 'a script')
    .replaceAll('/v1/shows', '/v1/openapi.json') // in a walkthrough any public route will do
    .replaceAll(', orders-sweep, reports-sales', '')
    .replace(new RegExp(`\\[([^\\]]*)\\]\\(${toLab}(?:#[^)]*)?\\)`, 'g'), '$1')
}

/** In a diagram, the node `tickets` and the arrows to it. */
function withoutNode(line: string): string {
  return line.replace(' & tickets', '').replace(/^(\s*)tickets\[.*--> /, '$1')
}
