import { integer } from '@escala/kit/config/config.ts'
import { apiModule } from '@escala/kit/http/module.ts'
import { cartRoutes } from './routes/cart.ts'
import { orderRoutes } from './routes/orders.ts'
import { reportRoutes } from './routes/reports.ts'
import { showRoutes } from './routes/shows.ts'

export const ticketsApi = apiModule({
  name: 'tickets',
  settings: {
    /** How long an order that is not charged yet keeps its tickets. */
    ORDER_HOLD_MS: integer(100, 86_400_000, 900_000),
  },
  routes: (parts, settings) => [
    ...showRoutes(parts),
    ...orderRoutes(parts, settings.ORDER_HOLD_MS),
    ...cartRoutes(parts),
    ...reportRoutes(parts),
  ],
})
