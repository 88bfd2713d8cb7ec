import { type Shape, place } from './layout';

onmessage = (e: MessageEvent<Shape>) => postMessage(place(e.data));
