/** What a second replica breaks while an adapter keeps its state in the process, and the page that shows it. */
interface Consequence {
  breaks: string
  slug: string
}

const consequences: Record<string, Consequence> = {
  sessions: { breaks: 'users are logged out at random, since only one replica knows them', slug: 'sessions' },
  sessionstate: { breaks: 'each replica keeps something else beside the same session', slug: 'session-races' },
  ratelimits: { breaks: 'every limit counts once per replica', slug: 'rate-limits' },
  cache: { breaks: 'replicas return old and new values alternately', slug: 'stale-cache' },
  events: { breaks: 'clients see only what happens on their own replica', slug: 'live-updates' },
  uploads: { breaks: 'files are found on the replica that took them, and nowhere else', slug: 'uploads' },
  flags: { breaks: 'a flag changes on one replica only', slug: 'flags' },
  locks: { breaks: 'two replicas hold the same lock at once', slug: 'locks' },
  idempotency: { breaks: 'a repeated request has its effect again on another replica', slug: 'idempotency' },
  schedules: { breaks: 'scheduled work runs once per replica', slug: 'schedules' },
  // sample
  ordernumbers: { breaks: 'replicas give out the same numbers', slug: 'order-numbers' },
  // /sample
  jobs: { breaks: 'jobs die with the replica that took them', slug: 'jobs' },
  outbox: { breaks: 'events die with the replica that took them', slug: 'outbox' },
}
const aliases: Record<string, string> = {
  liveupdates: 'events',
  live: 'events',
  ratelimit: 'ratelimits',
  storage: 'uploads',
}

export function consequenceOf(part: string): { breaks: string; page: string } {
  const key = part.replace(/[^a-z]/gi, '').toLowerCase()
  const known = consequences[aliases[key] ?? key]
  return {
    breaks: known?.breaks ?? 'each replica has a state of its own',
    page: known ? `docs/problems/${known.slug}.md` : 'docs/problems/README.md',
  }
}
