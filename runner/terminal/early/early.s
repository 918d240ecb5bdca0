// This file is empty: without one the compiler wants a body for setGCPercent.
