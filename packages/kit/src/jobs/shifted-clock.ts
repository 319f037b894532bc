// Preloaded by `schedules.test.ts`: this process believes that it is later by so many milliseconds: `shifted-clock.ts?ahead=3600000`.
const aheadMs = Number(new URL(import.meta.url).searchParams.get('ahead'))
const RealDate = Date
const now = () => RealDate.now() + aheadMs
globalThis.Date = new Proxy(RealDate, {
  construct: (date, args, target) => Reflect.construct(date, args.length === 0 ? [now()] : args, target),
  get: (date, key) => (key === 'now' ? now : Reflect.get(date, key)),
})
