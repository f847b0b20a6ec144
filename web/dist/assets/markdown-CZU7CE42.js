import{a,b,c}from"./chunk-RZQNZ2JO.js";import"./chunk-AAZABAPM.js";export{a as longest,c as markdownOf,b as render};
