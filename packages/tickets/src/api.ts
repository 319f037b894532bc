import { flag, integer } from '@escala/kit/config/config'
import { apiModule } from '@escala/kit/module'
import { ticketFlags } from './flags.ts'
import { ticketsPersonalData } from './personal-data.ts'
import { cartRoutes } from './routes/cart.ts'
import { liveRoutes } from './routes/live.ts'
import { orderRoutes } from './routes/orders.ts'
import { posterRoutes } from './routes/posters.ts'
import { reportRoutes } from './routes/reports.ts'
import { showRoutes } from './routes/shows.ts'
import { createShowReader } from './show-reader.ts'

export const ticketsApi = apiModule({
  name: 'tickets',
  settings: {
    /** How long an order that is not charged yet keeps its tickets. */
    ORDER_HOLD_MS: integer(100, 86_400_000, 900_000),
    /** Tickets that one buyer may have or hold for a show; 0: any number. */
    MAX_TICKETS_PER_BUYER: integer(0, 1_000_000, 0),
    /** Refuses orders of users who have not verified their e-mail address. */
    REQUIRE_VERIFIED_EMAIL: flag(),
    /** How long a show's details are answered without another look: what a change costs whose invalidation was lost. */
    SHOW_FRESH_MS: integer(0, 3_600_000, 10_000),
  },
  flags: Object.values(ticketFlags),
  roles: ['organiser', 'customer'], // no route asks for the latter: it is what an operator gives to take the former away
  personalData: () => ticketsPersonalData,
  routes(parts, settings) {
    const shows = createShowReader({ ...parts, freshMs: settings.SHOW_FRESH_MS })
    return [
      ...showRoutes(parts, shows),
      ...liveRoutes(parts, shows),
      ...posterRoutes(parts, shows),
      ...orderRoutes(parts, {
        holdMs: settings.ORDER_HOLD_MS,
        maxPerBuyer: settings.MAX_TICKETS_PER_BUYER,
        needsVerifiedEmail: settings.REQUIRE_VERIFIED_EMAIL,
      }),
      ...cartRoutes({ ...parts, shows }),
      ...reportRoutes(parts),
    ]
  },
})
