"""Functions of CPython that references pass through: whatever they do with
one, they do it for their caller. And those that store them.
"""

# Functions that take or give up references for their caller. They are never
# the holder of one. What ends in '*' stands for all functions that begin like
# this, here those of the map; see is_transparent() and LoadedCode.ranges().
TRANSPARENT = frozenset('''
    Py_INCREF Py_DECREF Py_XINCREF Py_XDECREF Py_IncRef Py_DecRef _Py_IncRef
    _Py_DecRef Py_NewRef Py_XNewRef _Py_NewRef _Py_XNewRef Py_SETREF Py_XSETREF
    Py_CLEAR _Py_RefcntAdd _Py_INCREF_IncRefTotal _Py_DECREF_DecRefTotal
    _Py_DECREF_SPECIALIZED _Py_DECREF_NO_DEALLOC _Py_DECREF_INT _Py_TryIncref
    _Py_TryIncrefCompare _Py_TryXGetRef _Py_NewRefWithLock
    _Py_XNewRefWithLock _Py_SetRefcnt Py_SET_REFCNT _Py_IncRefTotal
    _Py_DecRefTotal _Py_IncRefTotalOf _Py_DecRefTotalOf _Py_NewRefTotalOf
    _Py_DecRefTotalLast _Py_DecRefTotalLeft _PyStaticObject_CheckRefcnt
    PyStackRef_NewRef PyStackRef_XNewRef _PyStackRef_StealRef
    PyStackRef_INCREF PyStackRef_DECREF PyStackRef_XDECREF
    _PyWeakref_GET_REF PyCell_SwapTakeRef PyCell_SetTakeRef
    _Py_Dealloc _Py_NewReference _Py_NewReferenceNoTotal _Py_ResurrectReference
    decref_last_slow
    new_reference PyObject_Init PyObject_InitVar _PyObject_Init
    _PyObject_InitVar PyObject_INIT PyObject_INIT_VAR
    _PyRefMap_* refmap_*
    '''.split())

_TRANSPARENT_PREFIXES = tuple(name[:-1] for name in TRANSPARENT
                              if name.endswith('*'))

# Functions that make the object which another one asked for: what they return
# is their caller's.
ALLOCATORS = frozenset('''
    PyObject_Malloc PyObject_Calloc PyObject_Realloc PyMem_Malloc PyMem_Calloc
    PyMem_Realloc PyMem_RawMalloc PyMem_RawCalloc PyMem_RawRealloc
    _PyObject_Malloc _PyObject_Calloc _PyObject_Realloc _PyObject_New
    _PyObject_NewVar _PyObject_GC_New _PyObject_GC_NewVar _PyObject_GC_Resize
    _PyObject_MallocWithType _PyObject_ReallocWithType _PyType_AllocNoTrack
    _PyType_NewManagedObject PyUnstable_Object_GC_NewWithExtraData
    PyType_GenericAlloc PyType_GenericNew gc_alloc
    tuple_alloc maybe_freelist_pop _PyMem_DebugRawAlloc _PyMem_DebugMalloc
    _PyMem_DebugCalloc _PyMem_DebugRealloc _PyMem_DebugRawMalloc
    _PyMem_DebugRawCalloc _PyMem_DebugRawRealloc pymalloc_alloc
    pymalloc_realloc _PyMem_RawMalloc _PyMem_RawCalloc _PyMem_RawRealloc
    malloc calloc realloc
    '''.split())

# Functions that pass arguments on to a callee, and its result back.
CALLS = frozenset('''
    PyObject_Call _PyObject_Call PyObject_CallObject PyObject_CallNoArgs
    PyObject_CallOneArg PyObject_CallFunction PyObject_CallFunctionObjArgs
    PyObject_CallMethod PyObject_CallMethodObjArgs PyObject_CallMethodNoArgs
    PyObject_CallMethodOneArg PyObject_Vectorcall PyObject_VectorcallDict
    PyObject_VectorcallMethod PyVectorcall_Call PyEval_CallFunction
    PyEval_CallMethod PyEval_CallObjectWithKeywords PyCFunction_Call
    _PyObject_CallNoArgs _PyObject_CallNoArgsTstate _PyObject_CallMethod
    _PyObject_CallMethodId _PyObject_CallMethodIdNoArgs
    _PyObject_CallMethodIdOneArg _PyObject_CallMethodIdObjArgs
    _PyObject_CallMethodFormat _PyObject_CallFunctionVa
    _PyObject_CallFunction_SizeT _PyObject_CallMethod_SizeT
    _PyObject_Call_Prepend _PyObject_MakeTpCall
    _PyObject_VectorcallDictTstate _PyObject_VectorcallTstate
    _PyObject_VectorcallMethodId _PyVectorcall_Call _PyFunction_Vectorcall
    _PyStack_AsDict _PyStack_UnpackDict object_vacall callmethod
    cfunction_call cfunction_vectorcall_FASTCALL
    cfunction_vectorcall_FASTCALL_KEYWORDS
    cfunction_vectorcall_FASTCALL_KEYWORDS_METHOD cfunction_vectorcall_NOARGS
    cfunction_vectorcall_O method_vectorcall method_vectorcall_FASTCALL
    method_vectorcall_FASTCALL_KEYWORDS
    method_vectorcall_FASTCALL_KEYWORDS_METHOD method_vectorcall_NOARGS
    method_vectorcall_O method_vectorcall_VARARGS
    method_vectorcall_VARARGS_KEYWORDS instancemethod_call
    classmethoddescr_call wrapperdescr_call wrapperdescr_raw_call wrapper_call
    type_call slot_tp_call slot_tp_new slot_tp_init vectorcall_maybe
    vectorcall_method vectorcall_unbound call_unbound_noarg
    _PyEval_EvalFrame _PyEval_EvalFrameDefault _PyEval_Vector PyEval_EvalCode
    PyEval_EvalCodeEx PyEval_EvalFrame PyEval_EvalFrameEx _Py_CallInInterpreter
    _PyPegen_run_parser run_eval_code_obj run_mod
    py_trampoline_evaluator _PyEvalFramePushAndInit
    _PyEvalFramePushAndInit_Ex
    '''.split())

# Files of containers: who takes references there stores them, mostly.
CONTAINERS = frozenset('''
    Objects/dictobject.c Objects/listobject.c Objects/tupleobject.c
    Objects/setobject.c Objects/odictobject.c Modules/_collectionsmodule.c
    '''.split())


def is_transparent(function):
    """Is a function in TRANSPARENT?"""
    return (function in TRANSPARENT
            or function.startswith(_TRANSPARENT_PREFIXES))
