-- What the pages add to Quarto's: bold labels of captions, numbers of equations at the right.
-- Quarto runs this after its own filters, the light renderer after crossref.lua, which writes
-- figures, tables and equations as Quarto does.

-- "Table 1:" at the start of a caption.
local function with_bold_label(caption)
  local label, rest = pandoc.Inlines({}), pandoc.Inlines({})
  for _, inline in ipairs(caption.content) do
    local done = #label > 0 and label[#label].t == "Str" and label[#label].text:match(":$")
    if done then rest:insert(inline) else label:insert(inline) end
  end
  if #rest > 0 then
    caption.content = pandoc.Inlines({pandoc.Strong(label)}) .. rest
  end
  return caption
end

return {{
  Blocks = function(blocks)
    for i, block in ipairs(blocks) do
      local caption = blocks[i + 1]
      if block.t == "RawBlock" and block.text:match("^<figcaption") and caption
        and (caption.t == "Plain" or caption.t == "Para") then
        blocks[i + 1] = with_bold_label(caption)
      end
    end
    return blocks
  end,
  Span = function(span)
    local maths = span.content[1]
    if not (span.identifier:match("^eq%-") and maths and maths.t == "Math") then return end
    local formula, number = maths.text:match("^(.*)%s\\qquad(%(%d+%))$")
    if not formula then return end
    maths.text = formula
    local mark = pandoc.Span(pandoc.Str(number), pandoc.Attr("", {"number"}))
    return pandoc.Span({maths, mark}, pandoc.Attr(span.identifier, {"equation"}))
  end,
}}
