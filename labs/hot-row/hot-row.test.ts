import { labTest } from '../lab-test.ts'
import { lab } from './scenario.ts'

labTest(lab)
