#include "textflag.h"

// onLargeStack has a frame of more than 32 MiB, and does nothing. A stack is doubled until
// that has room in it (runtime/stack.go, newstack).
TEXT ·onLargeStack(SB), 0, $0x2100000-0
	RET
