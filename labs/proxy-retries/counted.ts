import type { Parts } from '../../apps/api/src/parts.ts'

const runs: Record<string, number> = {}

/** `/work/:name` begins something and answers after two seconds; `/runs` returns how often each was started here. */
export const apiParts: Partial<Parts> = {
  listener: (app) => (req, res) => {
    const [, route, name = ''] = (req.url ?? '').split('/')
    if (route === 'runs') return void res.end(JSON.stringify(runs))
    if (route !== 'work') return app(req, res)
    runs[name] = (runs[name] ?? 0) + 1
    setTimeout(() => res.end('done'), 2000)
  },
}
