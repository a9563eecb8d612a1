/* engine.js as divan-js carries it. */
	.section .rodata
	.global engine_js
	.type engine_js, @object
engine_js:
	.incbin "script/engine.js"
	.byte 0
	.size engine_js, . - engine_js
	.section .note.GNU-stack, "", @progbits
