import type { DataModule } from '@escala/kit/module'
import type { Postgres, Statement } from '@escala/kit/postgres/postgres'
import { ticketErrors } from './errors.ts'

// The ids are constants, so that examples can name them and a second seeding changes nothing.
const shows = [
  ['01990000-0000-7000-8000-000000000001', 'Escala Live', 30, 4500, 'EUR', 500],
  ['01990000-0000-7000-8000-000000000002', 'The Last Ticket', 45, 9900, 'EUR', 10],
  ['01990000-0000-7000-8000-000000000003', 'One Thousand Requests', 60, 1500, 'EUR', 5000],
] as const

const seedShow: Statement = {
  name: 'tickets-seed-show',
  text: `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
    VALUES ($1, $2, date_trunc('day', now(), 'UTC') + $3::int * interval '1 day' + interval '20 hours', $4, $5, $6, $6)
    ON CONFLICT (id) DO NOTHING`,
}

export const ticketsData: DataModule = {
  name: 'tickets',
  migrations: new URL('./migrations/', import.meta.url),
  errors: ticketErrors,
  async seed(postgres: Postgres) {
    for (const show of shows) await postgres.query(seedShow, [...show])
  },
}
