#include "textflag.h"

// onLargeStack has a frame of more than 16 MiB, and does nothing. A stack is doubled until
// that has room in it (runtime/stack.go, newstack).
TEXT ·onLargeStack(SB), 0, $0x1100000-0
	RET
